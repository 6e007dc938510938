"""The pipeline most people write first, as a measure: it imports nothing of dailies."""
