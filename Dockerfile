# gptsmith on a CPU: docker build -t gptsmith . && docker run --rm -it -v "$PWD:/work" gptsmith pretrain my_texts --minutes 10
FROM python:3.13-slim
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt .
# Files that a run writes belong to the user who started the container: docker run --user "$(id -u):$(id -g)" ...
USER 1000:1000
ENV HOME=/tmp GPTSMITH_CACHE=/tmp/gptsmith
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["gptsmith"]
CMD ["--help"]
