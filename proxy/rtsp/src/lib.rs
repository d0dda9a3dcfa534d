//! RTSP 1.0 as a pure machine: bytes in, bytes out, never a socket or a clock.
