//! SCRAM (RFC 5802, RFC 7677), the client's side: proves that it knows the password, and sees that the broker does.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgbatch_core::kafka_options::Mechanism;
use ring::{digest, hmac, pbkdf2, rand::SecureRandom, rand::SystemRandom};

/// Kafka's minimum; its own tools refuse more than 16384. A broker must not keep the dispatcher busy with more.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// The algorithms of a mechanism.
struct Algorithms {
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

/// A login under way.
pub(super) struct Scram<'a> {
    algorithms: Algorithms,
    password: &'a str,
    nonce: String,
    /// The first message without its header.
    first: String,
    /// What the broker's last message must carry.
    server_key: Option<(hmac::Key, String)>,
}

impl<'a> Scram<'a> {
    pub(super) fn new(mechanism: Mechanism, username: &str, password: &'a str) -> Result<Self, String> {
        let mut random = [0; 24];
        SystemRandom::new().fill(&mut random).map_err(|_| "no random numbers".to_owned())?;
        Ok(Self::with_nonce(mechanism, username, password, STANDARD.encode(random)))
    }

    fn with_nonce(mechanism: Mechanism, username: &str, password: &'a str, nonce: String) -> Self {
        let algorithms = if mechanism == Mechanism::ScramSha256 {
            Algorithms {
                hmac: hmac::HMAC_SHA256,
                digest: &digest::SHA256,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
            }
        } else {
            Algorithms {
                hmac: hmac::HMAC_SHA512,
                digest: &digest::SHA512,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
            }
        };
        let first = format!("n={},r={nonce}", username.replace('=', "=3D").replace(',', "=2C"));
        Self { algorithms, password, nonce, first, server_key: None }
    }

    /// The first message.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first).into_bytes()
    }

    /// The second message, for the broker's answer to the first.
    pub(super) fn proof(&mut self, answer: &[u8]) -> Result<Vec<u8>, String> {
        let answer = std::str::from_utf8(answer).map_err(|e| e.to_string())?;
        let (nonce, salt, iterations) = (field(answer, "r=")?, field(answer, "s=")?, field(answer, "i=")?);
        let salt = STANDARD.decode(salt).map_err(|e| e.to_string())?;
        let iterations: u32 = iterations.parse().map_err(|_| "iterations that are no number")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("a nonce that is not ours".to_owned());
        }
        let iterations = NonZeroU32::new(iterations)
            .filter(|i| ITERATIONS.contains(&i.get()))
            .ok_or_else(|| format!("{iterations} iterations"))?;
        let mut salted = vec![0; self.algorithms.digest.output_len()];
        pbkdf2::derive(self.algorithms.pbkdf2, iterations, &salt, self.password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(self.algorithms.hmac, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.algorithms.digest, client_key.as_ref());
        let rest = format!("c=biws,r={nonce}");
        let all = format!("{},{answer},{rest}", self.first);
        let signature =
            hmac::sign(&hmac::Key::new(self.algorithms.hmac, stored_key.as_ref()), all.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, with)| key ^ with).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        self.server_key = Some((hmac::Key::new(self.algorithms.hmac, server_key.as_ref()), all));
        Ok(format!("{rest},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Whether the broker's last message shows that it knows the password too.
    pub(super) fn is_of_the_broker(&self, answer: &[u8]) -> bool {
        let signature = std::str::from_utf8(answer).ok().and_then(|a| a.strip_prefix("v="));
        let signature = signature.and_then(|s| STANDARD.decode(s.trim_end()).ok());
        let (Some(signature), Some((key, all))) = (signature, &self.server_key) else { return false };
        hmac::verify(key, all.as_bytes(), &signature).is_ok()
    }
}

fn field<'a>(answer: &'a str, name: &str) -> Result<&'a str, String> {
    answer.split(',').find_map(|part| part.strip_prefix(name)).ok_or_else(|| format!("no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_example_of_the_standard() {
        let mut scram =
            Scram::with_nonce(Mechanism::ScramSha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.proof(answer).unwrap();
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(scram.is_of_the_broker(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!scram.is_of_the_broker(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn an_answer_to_somebody_else_or_one_that_costs_too_much_is_refused() {
        let mut scram = Scram::with_nonce(Mechanism::ScramSha512, "a=b,c", "p", "nonce".to_owned());
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=nonce");
        assert!(scram.proof(b"r=other,s=AAAA,i=4096").is_err());
        assert!(scram.proof(b"r=nonce,s=AAAA,i=4096").is_err(), "the broker added nothing of its own");
        assert!(scram.proof(b"r=noncemore,s=AAAA,i=100000000").is_err());
        assert!(scram.proof(b"r=noncemore,s=AAAA,i=1").is_err());
        assert!(scram.proof(b"r=noncemore,s=AAAA,i=4096").is_ok());
    }
}
