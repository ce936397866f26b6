//! A real cluster: its watches into `objects::Event`s, its status and Events written.
