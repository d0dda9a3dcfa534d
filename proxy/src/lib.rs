//! The playback proxy as a library; `main.rs` is the program.
