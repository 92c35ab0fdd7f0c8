//! Amazon Bedrock's Converse API, only the provider side. Facts: the `bedrock-runtime` service model of
//! botocore and "Carry out a conversation with the Converse API operations" in the Amazon Bedrock user guide.

mod adapter;
mod answer;
pub(crate) mod errors;
mod request;

/// Amazon Bedrock Converse.
pub struct BedrockConverse;
