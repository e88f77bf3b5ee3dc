"""What several tests share: data sets, runs, fixtures. No tests are here."""
