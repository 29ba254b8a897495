# The router in a container: one static binary and nothing else.
#
#   docker build -t weir .
#   docker run --rm --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --cap-add BPF --cap-add PERFMON \
#     --cap-add SYS_NICE --cap-add IPC_LOCK --cap-add NET_BIND_SERVICE --security-opt no-new-privileges --ulimit memlock=-1 \
#     --device /dev/net/tun -v /etc/weir:/etc/weir weir
#
# It is root with those capabilities and no other, since engines give none to other users. /etc/weir has weir.yaml; it is a directory that
# can be written to, for commits.
#
# BASE must have Go 1.26; a builder without access to a registry names one of its own.
ARG BASE=docker.io/library/golang:1.26-bookworm
FROM ${BASE} AS build
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /weir ./cmd/weir

FROM scratch
COPY --from=build /weir /weir
ENTRYPOINT ["/weir"]
CMD ["run", "-c", "/etc/weir/weir.yaml"]
