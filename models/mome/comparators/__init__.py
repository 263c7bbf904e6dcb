"""What MOME is compared with: ResNets, their fusions, MOME with parts taken out; same data, steps and selection."""
