"""The numerics under the methods: normal equations solved exactly and scaled, singular values, directions."""
