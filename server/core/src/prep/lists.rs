//! Access control lists of what is outstanding.

use std::sync::Arc;

use zk_proto::Acl;

use crate::tree::detached;

/// Makes lists that outlive the requests they come in.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Most are like the one before.
    last: Option<Arc<[Acl]>>,
}

impl Lists {
    /// The same list, kept once as long as the same comes again and again.
    pub(super) fn share(&mut self, list: &[Acl]) -> Arc<[Acl]> {
        if let Some(last) = self.last.as_ref().filter(|last| ***last == *list) {
            return Arc::clone(last);
        }
        // Decoded text is a slice of the buffer it came in, which would live as long as the list.
        let shared: Arc<[Acl]> = list.iter().map(detached).collect();
        self.last = Some(Arc::clone(&shared));
        shared
    }
}
