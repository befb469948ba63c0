"""What is measured of an expert on its own domain: Gram matrices of layer inputs, Fisher information."""
