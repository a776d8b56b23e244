//! Passwords of sessions.

use zk_proto::SessionId;
use zk_proto::connect::PASSWORD_LEN;

const SECRET: u64 = 0xb341_5c00;
const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 11;
const STATE_MASK: u64 = (1 << 48) - 1;

/// The password of a session, as every server of an ensemble derives it from the id.
///
/// It guards against mistakes, not against attackers: whoever knows an id knows the password.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `ZooKeeperServer#generatePasswd`: a linear congruential generator of 48
/// bits whose upper 32 bits are the output.
pub fn derive_password(id: SessionId) -> [u8; PASSWORD_LEN] {
    let mut state = (id.get().cast_unsigned() ^ SECRET ^ MULTIPLIER) & STATE_MASK;
    let mut password = [0; PASSWORD_LEN];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & STATE_MASK;
        let [_, _, high @ .., _, _] = state.to_be_bytes();
        for (to, from) in word.iter_mut().zip(high.iter().rev()) {
            *to = *from;
        }
    }
    password
}

/// Whether a client that shows `password` may resume the session. Null is never the password, and
/// [`SessionId::NONE`] has none.
pub fn is_password_of(id: SessionId, password: Option<&[u8]>) -> bool {
    let Some(shown) = password else {
        return false;
    };
    let real = derive_password(id);
    // Over all bytes, so that the time taken tells nothing of how many are right.
    let differ = real
        .iter()
        .zip(shown)
        .fold(0, |bits, (a, b)| bits | (a ^ b));
    id != SessionId::NONE && shown.len() == PASSWORD_LEN && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_the_reference_ones() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../vectors/session/passwords.json")).unwrap();
        let vectors = vectors["sessionPasswords"].as_array().unwrap();
        assert!(vectors.len() > 20);
        for vector in vectors {
            let id = SessionId::new(vector["sessionId"].as_i64().unwrap());
            let password = derive_password(id);
            let hex = password
                .iter()
                .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            assert_eq!(hex, vector["passwd"].as_str().unwrap(), "{id}");
            assert!(is_password_of(id, Some(&password)));
        }
    }

    #[test]
    fn wrong_short_long_and_missing_passwords_are_refused() {
        let id = SessionId::new(0x0100_2d1e_2800_0000);
        let mut password = derive_password(id).to_vec();
        assert!(!is_password_of(id, None));
        assert!(!is_password_of(id, Some(&[])));
        assert!(!is_password_of(id, password.get(..15)));
        password.push(0);
        assert!(!is_password_of(id, Some(&password)));
        password.pop();
        password[15] ^= 1;
        assert!(!is_password_of(id, Some(&password)));
    }

    #[test]
    fn session_none_has_no_password() {
        let password = derive_password(SessionId::NONE);
        assert!(!is_password_of(SessionId::NONE, Some(&password)));
    }
}
