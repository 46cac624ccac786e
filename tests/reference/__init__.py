"""Slow, independent references for the reduction methods: loops over tokens, no code of the package."""
