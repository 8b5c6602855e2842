"""Laws: how long an operator takes. Pure functions, NumPy in, NumPy out; they see numbers, never a deployment.

Each docstring has the formula, its units and its reference. Dimensions broadcast over `(operator, config[, draw])`.
"""
