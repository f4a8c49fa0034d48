"""How gunicorn serves Amalga: as many processes as the machine carries, a thread only for a request that is here."""
