"""What is trained, ready to be used from a script: models, agents, dreams."""
