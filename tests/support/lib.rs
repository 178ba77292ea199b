//! Everything that promises are tested with: processes, waiting, devices, faults.
