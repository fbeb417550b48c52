"""What a solution spends its time on: kernels or operators, their resources, the bandwidth they reach."""
