//! What is loaded in the kernel: the only code that knows aya, pins, links and devices.
