use std::fmt;

/// Declares the opcodes: name, code, name in the protocol's words.
macro_rules! op_codes {
    ($( $(#[$meta:meta])* $name:ident = $code:literal, $text:literal; )*) => {
        /// What a request asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum OpCode {
            $( $(#[$meta])* $name = $code, )*
        }

        impl OpCode {
            /// Every opcode, in the order of this list.
            pub const ALL: &[Self] = &[$( Self::$name, )*];

            /// The opcode with this number, if there is one.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// Name as the protocol writes it: `getChildren2`.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $text, )*
                }
            }
        }
    };
}

op_codes! {
    /// Creates a znode; answers its path.
    Create = 1, "create";
    /// Deletes a znode.
    Delete = 2, "delete";
    /// Tells a znode's stat.
    Exists = 3, "exists";
    /// Tells a znode's data and stat.
    GetData = 4, "getData";
    /// Sets a znode's data.
    SetData = 5, "setData";
    /// Tells a znode's ACL and stat.
    GetAcl = 6, "getACL";
    /// Sets a znode's ACL.
    SetAcl = 7, "setACL";
    /// Lists the names of a znode's children.
    GetChildren = 8, "getChildren";
    /// Waits until this server has applied what was committed before.
    Sync = 9, "sync";
    /// Keeps the session alive.
    Ping = 11, "ping";
    /// Lists the names of a znode's children, with its stat.
    GetChildren2 = 12, "getChildren2";
    /// Requires a version; inside a multi only.
    Check = 13, "check";
    /// Several writes, all or none.
    Multi = 14, "multi";
    /// Creates a znode; answers its path and stat.
    Create2 = 15, "create2";
    /// Changes the members of the ensemble.
    Reconfig = 16, "reconfig";
    /// Asks whether this connection has a watch.
    CheckWatches = 17, "checkWatches";
    /// Removes the watches of this connection on a path.
    RemoveWatches = 18, "removeWatches";
    /// Creates a container, which is deleted some time after its last child.
    CreateContainer = 19, "createContainer";
    /// Deletes a container without children; servers send it to themselves.
    DeleteContainer = 20, "deleteContainer";
    /// Creates a znode that is deleted when it had no change for its time to live.
    CreateTtl = 21, "createTTL";
    /// Several reads, each with its own result.
    MultiRead = 22, "multiRead";
    /// Adds an identity to this connection.
    Auth = 100, "auth";
    /// Registers one-shot watches anew after a reconnect.
    SetWatches = 101, "setWatches";
    /// One step of a SASL exchange.
    Sasl = 102, "sasl";
    /// Lists the ephemeral znodes of this session.
    GetEphemerals = 103, "getEphemerals";
    /// Counts all descendants of a znode.
    GetAllChildrenNumber = 104, "getAllChildrenNumber";
    /// Registers watches of every kind anew after a reconnect.
    SetWatches2 = 105, "setWatches2";
    /// Adds a persistent watch.
    AddWatch = 106, "addWatch";
    /// Tells the identities of this connection.
    WhoAmI = 107, "whoAmI";
    /// Begins a session; servers send it to themselves.
    CreateSession = -10, "createSession";
    /// Ends the session.
    CloseSession = -11, "closeSession";
}

impl OpCode {
    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_there_and_back() {
        for &op in OpCode::ALL {
            assert_eq!(OpCode::from_code(op.code()), Some(op));
        }
        assert_eq!(OpCode::from_code(10), None);
        assert_eq!(OpCode::from_code(0), None);
    }
}
