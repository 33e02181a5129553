//! The points of the contract, on the model.
