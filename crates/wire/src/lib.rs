//! Everything that crosses a socket: frame, codec, messages
