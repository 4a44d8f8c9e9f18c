//! Every actor of the tree, killed from outside as a bug in it would end it: what comes back, and what its show and its
//! neighbours see of it. The real tree on the simulated world, in paused time.

mod matrix;
mod tree;
