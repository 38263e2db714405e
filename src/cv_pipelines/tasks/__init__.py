"""One LightningModule a kind of work: loss, predictions, scores."""
