//! Tests of whole protocols, against recorded traffic and fixtures of our own.

mod anthropic_messages;
