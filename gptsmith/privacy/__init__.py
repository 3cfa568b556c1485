"""What a trained model gives away of the text that it learnt from."""
