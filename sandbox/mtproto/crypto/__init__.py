"""Keys, the key exchange, message encryption and the 2FA password check, from the server's side."""
