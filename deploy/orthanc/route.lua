-- Route every study that has been quiet for StableAge seconds to the node, as a PACS would.
function OnStableStudy(study, tags, metadata)
  RestApiPost('/modalities/node/store', '{"Resources": ["' .. study .. '"], "Synchronous": false}')
end
