"""The private API: embeddings for every OpenAI and Azure OpenAI client, and the corpus, over HTTP.

`app.py` puts it together, `gate.py` stands before every route, one router a family answers, `listening.py` is what is
bound to a socket.
"""
