"""The trusted end of a worker: start one, speak with it, turn its failures into verdicts."""
