//! Shares what is scarce between tenants: who is next ([`Order`]), and permits that tasks wait for ([`Permits`]).

mod order;
mod permits;

pub(crate) use order::{Order, Ticket};
pub(crate) use permits::{Permit, Permits};
