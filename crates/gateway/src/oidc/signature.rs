//! Verification of ID tokens with ring, for the crate that parses them. Its own backends would add a second
//! cryptography library, or an RSA with an open advisory (RUSTSEC-2023-0071).

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// The accepted algorithms, all with public keys. `none` is excluded, and so is HMAC, whose key would be the
/// client's secret, or a public key that is mistaken for a secret.
pub const ACCEPTED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Must be called before a token is read. Only the first call has an effect.
pub fn install() {
    let _ = PROVIDER.install_default();
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let way = match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Verification::Rsa(&RSA_PKCS1_2048_8192_SHA256)
        }
        (Algorithm::RS384, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Verification::Rsa(&RSA_PKCS1_2048_8192_SHA384)
        }
        (Algorithm::RS512, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Verification::Rsa(&RSA_PKCS1_2048_8192_SHA512)
        }
        (Algorithm::PS256, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Verification::Rsa(&RSA_PSS_2048_8192_SHA256)
        }
        (Algorithm::PS384, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Verification::Rsa(&RSA_PSS_2048_8192_SHA384)
        }
        (Algorithm::PS512, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Verification::Rsa(&RSA_PSS_2048_8192_SHA512)
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(_)) => Verification::Point(&ECDSA_P256_SHA256_FIXED),
        (Algorithm::ES384, DecodingKeyKind::SecretOrDer(_)) => Verification::Point(&ECDSA_P384_SHA384_FIXED),
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(_)) => Verification::Point(&ED25519),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(ByRing { algorithm: *algorithm, way, key: key.kind().clone() }))
}

enum Verification {
    Rsa(&'static RsaParameters),
    Point(&'static dyn VerificationAlgorithm),
}

struct ByRing {
    algorithm: Algorithm,
    way: Verification,
    key: DecodingKeyKind,
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match (&self.way, &self.key) {
            (Verification::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Verification::Point(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(*algorithm, key).verify(message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
