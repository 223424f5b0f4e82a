"""What watches: the event vocabulary, recordings, symbols, maps and the probes themselves."""
