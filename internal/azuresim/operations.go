package azuresim

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Async describes a PUT of a site that App Service accepts with 202 and carries out later, whether or not anybody asks
// for the result.
type Async struct {
	// Looks is the number of polls of the operation, and of reads of the site, that find it under way.
	Looks int
	// Gate, if set, keeps the operation under way until it is closed.
	Gate <-chan struct{}
	// Hidden has Resource Manager answer 404 for a new site while the operation is under way, and delete nothing.
	// Otherwise the site shows the id of the operation.
	Hidden bool
	// Failure, if set, is the message of the error that the operation ends with. The site stays in Azure.
	Failure string
	// Location has clients poll by the header Location, which answers 202 until the site is there. Otherwise they poll
	// by the header Azure-AsyncOperation, which answers 200 with a status.
	Location bool
	// RetryAfter is a header of the answers to PUT and polls, in whole seconds; 0 sends none, and less than 0 sends 0.
	RetryAfter time.Duration
}

// operation is a write of a site that was accepted. It keeps the site's service plan locked while it is under way.
type operation struct {
	Async

	id, site string // site is a resource id
	created  bool   // whether the site is new
	started  time.Time
}

// underWay reports whether the operation is not yet done. look counts a poll or a read. The caller holds Sim.mu.
func (o *operation) underWay(look bool) bool {
	if o == nil {
		return false
	}
	select {
	case <-o.Gate:
		o.Gate = nil
	default:
		if o.Gate != nil {
			return true
		}
	}
	if o.Looks == 0 {
		return false
	}
	if look {
		o.Looks--
	}
	return true
}

// asyncOf returns how App Service carries out a PUT of a site, nil for at once. Both are documented
// (WebApps_CreateOrUpdate in github.com/Azure/azure-rest-api-specs answers 200 and 202), so they take turns: with each
// PUT of a site, and from site to site. The caller holds Sim.mu.
func (s *Sim) asyncOf(r *resource) *Async {
	if async := s.faults.current().AsyncSites; async != nil {
		return async
	}
	if r.site.puts++; (r.site.number+r.site.puts)%2 == 0 {
		return nil
	}
	return &Async{Looks: 1, RetryAfter: -1} // without a header, azurerm waits for 10 s
}

// accept answers a PUT of a site with 202 and an operation to poll.
func (s *Sim) accept(rq *armRequest, r *resource, existed bool, async Async) answer {
	o := &operation{Async: async, id: uuid.NewString(), site: r.id, created: !existed, started: s.cfg.Now()}
	s.state.operations[o.id] = o
	r.site.operation = o
	header := o.header()
	if o.Location {
		header.Set("Location", s.url+r.id+"/operationresults/"+o.id+"?api-version="+rq.query("api-version"))
	} else {
		header.Set("Azure-AsyncOperation", s.url+s.operationPath(o, r)+"?api-version="+rq.query("api-version"))
	}
	return answer{status: http.StatusAccepted, header: header, body: siteBody(r)}
}

func (s *Sim) operationPath(o *operation, r *resource) string {
	location := strings.ToLower(strings.ReplaceAll(text(r.body["location"]), " ", ""))
	return "/subscriptions/" + s.cfg.SubscriptionID + "/providers/Microsoft.Web/locations/" + location +
		"/operations/" + o.id
}

func (o *operation) header() http.Header {
	header := make(http.Header)
	if o.RetryAfter != 0 {
		header.Set("Retry-After", strconv.Itoa(int(max(o.RetryAfter, 0)/time.Second)))
	}
	return header
}

// getOperation answers a poll by Azure-AsyncOperation.
func (s *Sim) getOperation(rq *armRequest) (any, error) {
	o := s.state.operations[rq.params["operation"]]
	if o == nil {
		return nil, refusal(http.StatusNotFound, "NotFound", "Operation '%s' was not found.", rq.params["operation"])
	}
	r := s.state.resources[strings.ToLower(o.site)]
	document := map[string]any{"name": o.id, "startTime": o.started.UTC().Format(time.RFC3339), "status": "Succeeded"}
	switch {
	case o.underWay(true):
		document["status"] = "InProgress"
	case r == nil:
		document["status"] = "Canceled"
		document["error"] = map[string]any{"code": "Canceled", "message": "The site was deleted."}
	case o.Failure != "":
		document["status"] = "Failed"
		document["error"] = map[string]any{"code": "InternalServerError", "message": o.Failure}
	}
	return answer{status: http.StatusOK, header: o.header(), body: document}, nil
}

// getOperationResult answers a poll by Location.
func (s *Sim) getOperationResult(rq *armRequest) (any, error) {
	o := s.state.operations[rq.params["operation"]]
	switch {
	case o == nil || !strings.EqualFold(o.site, rq.id):
		return nil, refusal(http.StatusNotFound, "NotFound", "Operation '%s' was not found.", rq.params["operation"])
	case o.underWay(true):
		return answer{status: http.StatusAccepted, header: o.header()}, nil
	case o.Failure != "":
		return nil, refusal(http.StatusConflict, "Conflict", "%s", o.Failure) // clients would repeat a 500
	}
	r, err := s.find(rq)
	if err != nil {
		return nil, err
	}
	body := siteBody(r)
	body["properties"] = merged(object(body["properties"]), map[string]any{"provisioningState": "Succeeded"})
	return body, nil
}

// hidden reports whether Resource Manager does not show a site yet. look counts a read of the site.
func (a *site) hidden(look bool) bool {
	return a != nil && a.operation.underWay(look) && a.operation.Hidden && a.operation.created
}
