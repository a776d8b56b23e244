use uuid::Uuid;

use crate::kernel::claim::protected;

/// In what names the contenders of a lock stand in line, and so who else waits for them.
///
/// All of them wait for Curator's `InterProcessMutex` and `LeaderSelector`, for go-zookeeper's `Lock`
/// and for every lock of kazoo. What differs is who waits for us:
///
/// | | Curator, go-zookeeper | kazoo | kazoo with `extra_lock_patterns=["-lock-"]` |
/// |---|---|---|---|
/// | `Curator` | yes | no | yes |
/// | `Kazoo` | no | yes | yes |
/// | `Bridge` | yes | yes | yes |
///
/// No format makes Curator and kazoo wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LockFormat {
    /// `_c_<uuid>-lock-<number>`.
    #[default]
    Curator,
    /// `<uuid without dashes>__lock__<number>`.
    Kazoo,
    /// Both at once, created and deleted together. The first letter of the second is `f`, because
    /// Curator sorts a name that it does not know as text, and would wait for one that starts with a
    /// digit.
    Bridge,
}

/// What stands before the number in the names of Curator, and of kazoo.
pub(crate) const CURATOR: &str = "lock-";
pub(crate) const KAZOO: &str = "__lock__";
pub(crate) const KAZOO_READ: &str = "__rlock__";

impl LockFormat {
    /// Names of one contender, without their numbers.
    pub(crate) fn names(self, guid: Uuid) -> Vec<String> {
        let curator = protected(guid, CURATOR);
        match self {
            Self::Curator => vec![curator],
            Self::Kazoo => vec![format!("{}{KAZOO}", guid.as_simple())],
            Self::Bridge => {
                let hex = guid.as_simple().to_string();
                vec![
                    curator,
                    format!("f{}{KAZOO}", hex.get(1..).unwrap_or_default()),
                ]
            }
        }
    }

    /// Whom an exclusive contender waits for.
    pub(crate) const fn exclusive_blockers() -> &'static [&'static str] {
        &[CURATOR, KAZOO, KAZOO_READ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_others() {
        let guid = Uuid::from_u128(0x5f2c_9a00_0000_4000_8000_0000_0000_0001);
        assert_eq!(
            LockFormat::Bridge.names(guid),
            [
                "_c_5f2c9a00-0000-4000-8000-000000000001-lock-",
                "ff2c9a00000040008000000000000001__lock__",
            ]
        );
        assert_eq!(
            LockFormat::Kazoo.names(guid),
            ["5f2c9a00000040008000000000000001__lock__"]
        );
    }

    /// Curator sorts the whole of a name that it does not know with the numbers of those it does.
    #[test]
    fn curator_never_waits_for_the_second_name_of_a_bridge() {
        for _ in 0..1_000 {
            let names = LockFormat::Bridge.names(Uuid::new_v4());
            assert!(names[1].as_str() > "9999999999", "{names:?}");
        }
    }
}
