# A static gate in an empty image, run as nobody.
#   docker build -t pullgate .
#   docker run -p 5000:5000 --read-only --tmpfs /tmp -v "$PWD/etc:/etc/pullgate:ro" pullgate
ARG GO_IMAGE=docker.io/library/golang:1.26
ARG BASE_IMAGE=scratch

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -tags containers_image_openpgp -ldflags "-s -w -X main.version=${VERSION}" -o /rootfs/pullgate ./cmd/pullgate \
 && mkdir -p /rootfs/etc/ssl/certs /rootfs/tmp \
 && cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ \
 && chmod 1777 /rootfs/tmp

FROM ${BASE_IMAGE}
COPY --from=build /rootfs/ /
USER 65532:65532
# The addresses inside a container must be reachable from outside of it.
ENV PULLGATE_CONFIG=/etc/pullgate/pullgate.yaml \
    PULLGATE_LISTEN=0.0.0.0:5000 \
    PULLGATE_ADMIN_LISTEN=0.0.0.0:5001
EXPOSE 5000 5001
ENTRYPOINT ["/pullgate"]
CMD ["serve"]
