# The annotation page for a mounted folder of pictures:
#
#   docker build -t click-annotation .
#   docker run --rm --init --hostname localhost -p 127.0.0.1:8000:8000 --user "$(id -u):$(id -g)" \
#       -v "$PWD/photos:/images:ro" -v "$PWD/photos_annotations:/annotations" click-annotation
#
# It prints the address with its token. What follows the image's name goes to `python -m utils.annotate`, as --assist.
# Both folders must exist before: docker makes a missing one for root alone. A container has 64 MB of shared memory,
# which is enough: nothing here reads pictures in several processes.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    HOME=/tmp USER=annotator NO_ALBUMENTATIONS_UPDATE=1

WORKDIR /app
COPY requirements.txt ./
COPY utils/annotate/requirements.txt utils/annotate/
# Without CUDA, which the packages of the default index bring along: 200 MB in place of several GB
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision \
    && pip install -r requirements.txt -r utils/annotate/requirements.txt
COPY solution.py checkpoint.pth ./
COPY utils utils

RUN mkdir /images /annotations && chmod 777 /annotations
VOLUME /annotations
EXPOSE 8000
# Who is named by --user has no entry in /etc/passwd, and needs none
USER 1000:1000
ENTRYPOINT ["python", "-m", "utils.annotate", "/images", "--out", "/annotations", "--host", "0.0.0.0"]
