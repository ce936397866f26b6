//! Rate, concurrency and body limits as plain, bounded state machines.
