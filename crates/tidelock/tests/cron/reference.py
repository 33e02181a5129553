"""Writes reference.tsv: what croniter, an implementation in Python, makes of expressions in zones.

    pip install croniter==7.0.0 tzdata && python3 reference.py > reference.tsv

Each line has an expression, a zone, an instant, and the next five slots after it, or `refused`.
"""

import datetime
import importlib.metadata
import zoneinfo

from croniter import croniter

EXPRESSIONS = """
* * * * *
*/5 * * * *
*/7 * * * *
5/20 * * * *
59 * * * *
0,15,30,45 * * * *
10-20/3 * * * *
1-3,50-52 * * * *
*/70 * * * *
55-5/2 * * * *
0 * * * *
0 */2 * * *
0 */5 * * *
15 3/6 * * *
0 9-17 * * *
0 9-17/4 * * *
0 22-4/2 * * *
0 23-1 * * *
30 2 * * *
*/15 2 * * *
0 0 * * *
59 23 * * *
0 12 * * *
15 1 * * *
0 2,3 * * *
45 1,13 * * *
0 7 * * MON-FRI
0 7 * * 1-5
0 0 * * 0
0 0 * * 7
0 0 * * SUN
0 0 * * 6,7
0 0 * * 5-7
0 0 * * 1-7
0 0 * * 0-7
0 0 * * FRI-MON
0 0 * * 6-2/2
0 0 * * */2
0 0 * * 2/2
0 0 1 * *
0 0 15 * *
0 0 28-31 * *
0 0 29 * *
0 0 30 * *
0 0 31 * *
0 0 */10 * *
0 0 5/10 * *
0 0 1,15 * *
0 6 1-7 * *
0 0 1 JAN *
0 0 1 */3 *
0 0 1 2/5 *
0 0 1 11-2 *
0 0 1 NOV-FEB *
0 0 31 1,3,5,7,8,10,12 *
0 0 29 2 *
0 0 29 FEB *
*/20 3 29 2 *
0 0 31 12 *
59 23 31 12 *
0 0 13 * 5
0 0 13 * FRI
30 4 1,15 * 5
0 0 1-7 * MON
0 0 */2 * 1
0 0 1 * */2
0 0 * * */1
0 0 */1 * 3
0 0 1-31 * 3
0 0 1 1 0
0 12 24-26 12 *
00 0007 01 002 *
0 0 1 1 1-5
30 0 0 * * *
*/10 59 23 * * *
15,45 30 2 * * *
0 */30 1,2 * * *
55-5/5 0 12 * * *
7/13 0 6 1 * MON
@yearly
@annually
@monthly
@weekly
@daily
@midnight
@hourly
0 0 30 2 *
0 0 31 4,6,9,11 *
60 * * * *
* 24 * * *
* * 0 * *
*/0 * * * *
1,,2 * * * *
1-3-5 * * * *
""".strip().splitlines()

STARTS = [
    ("UTC", "2026-01-31T23:59:30Z"),
    ("UTC", "2099-12-30T12:00:00Z"),
    ("Europe/Berlin", "2026-03-28T12:00:00Z"),
    ("Europe/Berlin", "2026-10-24T20:00:00Z"),
    ("America/New_York", "2026-11-01T03:00:00Z"),
    ("Asia/Kathmandu", "2028-02-28T18:14:59Z"),
    ("Pacific/Auckland", "2031-07-04T05:06:07Z"),
]


def slots(expression, zone, start):
    start = datetime.datetime.fromisoformat(start).astimezone(zoneinfo.ZoneInfo(zone))
    try:
        upcoming = croniter(expression, start, second_at_beginning=True, ret_type=datetime.datetime)
        found = [upcoming.get_next().astimezone(datetime.timezone.utc) for _ in range(5)]
    except ValueError:
        return "refused"
    return " ".join(slot.strftime("%Y-%m-%dT%H:%M:%SZ") for slot in found)


print(f"# Made by reference.py with croniter {importlib.metadata.version('croniter')},", end=" ")
print(f"zones of tzdata {importlib.metadata.version('tzdata')}. Not to be edited by hand.")
for expression in EXPRESSIONS:
    for zone, start in STARTS:
        print(expression, zone, start, slots(expression, zone, start), sep="\t")
