"""What the Prefect UI offers: retraining, evaluating a model, bringing outputs up to date."""
