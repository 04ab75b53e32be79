//! The policy: conditions in SQL on what the rules found, quotas of what passes them, and what is refused.

pub(crate) mod clauses;
pub(crate) mod quotas;
pub(crate) mod refused;
pub(crate) mod select;
