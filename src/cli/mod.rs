pub mod assemble;
pub mod gateway;
pub mod rehearse;
pub mod serve;
pub mod stage;
