"""Makes robot episodes of five kinds in Meta-World and writes them as a LeRobot v3.0 dataset."""
