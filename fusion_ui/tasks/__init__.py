"""What a model is for: how text becomes its input and its output a prediction."""
