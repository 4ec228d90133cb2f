"""What a person in charge of the machine asks for."""
