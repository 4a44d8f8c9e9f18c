pub mod assemble;
pub mod rehearse;
pub mod stage;
