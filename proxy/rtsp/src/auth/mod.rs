//! Authentication ends here: clients answer our challenge, we answer the recorders'.

pub mod client;
pub mod nonce;
pub mod server;
pub mod users;
