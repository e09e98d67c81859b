"""Do shared weights rank architectures as training each of them alone does?"""
