//! RESP and HTTP: bytes into requests of one KvService
