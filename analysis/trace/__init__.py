"""What happened, thread by thread: tables made from the events of recordings."""
