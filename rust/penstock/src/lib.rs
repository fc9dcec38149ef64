//! Sans-IO core of penstock: fully deterministic, without sockets, threads, clocks or randomness.
