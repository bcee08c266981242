//! Operations of the vnodes under way, and what each is for.

use starling_types::hash::TokenMap;
use starling_vnode::OpId;

use super::Context;

/// By their numbers.
#[derive(Default)]
pub(super) struct Calls {
    contexts: TokenMap<OpId, Context>,
    last: u64,
}

impl Calls {
    /// The number of a new one.
    pub(super) fn begin(&mut self, context: Context) -> OpId {
        self.last += 1;
        let op = OpId(self.last);
        self.contexts.insert(op, context);
        op
    }

    /// The purpose of an operation that goes on.
    pub(super) fn get(&self, op: OpId) -> Option<&Context> {
        self.contexts.get(&op)
    }

    /// The purpose of an operation that is over.
    pub(super) fn end(&mut self, op: OpId) -> Option<Context> {
        self.contexts.remove(&op)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.contexts.len()
    }
}
